"""A picture that fits its width."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QSize, Qt
from qtpy.QtGui import QImage, QPixmap, QResizeEvent
from qtpy.QtWidgets import QLabel, QSizePolicy, QWidget

__all__ = ["Picture"]


class Picture(QLabel):
    """A picture that fits its width, sharp on any screen."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.image: QImage | None = None

    def show_image(self, image: QImage | None) -> None:
        """Show another picture, or none."""
        self.image = image
        self._draw()

    def _draw(self) -> None:
        if self.image is None or self.image.isNull():
            self.clear()
            self.setFixedHeight(0)
            return
        # Never larger than it is: the pixels of a preview are those of the network.
        width = max(1, min(self.width(), self.image.width()))
        height = max(1, round(self.image.height() * width / self.image.width()))
        # Scaled here to the pixels of the screen: Qt would scale once more, and coarsely.
        ratio = self.devicePixelRatioF()
        size = QSize(round(width * ratio), round(height * ratio))
        scaled = self.image.scaled(
            size, Qt.AspectRatioMode.IgnoreAspectRatio, Qt.TransformationMode.SmoothTransformation
        )
        pixmap = QPixmap.fromImage(scaled)
        pixmap.setDevicePixelRatio(ratio)
        self.setPixmap(pixmap)
        self.setFixedHeight(height)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Fit the picture to the new width."""
        super().resizeEvent(event)
        # `_draw` changes the height, which comes here again.
        if event.oldSize().width() != event.size().width():
            self._draw()

    def changeEvent(self, event: QEvent) -> None:
        """Draw again for a screen of another resolution."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ScreenChangeInternal:
            self._draw()
