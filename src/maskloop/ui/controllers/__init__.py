"""What the window knows and can do, one controller per subject, without Qt.

A controller takes the workspace and the controllers it needs; see `maskloop.ui.controllers.base`.
"""
