"""The tabs of the dock: widgets wired to controllers.

A tab decides nothing about data: what can be done, and why not, is asked of the controllers
(`maskloop.ui.controllers`). A new tab is one class (see `maskloop.ui.tabs.base`) and one entry of
`maskloop.ui.dock.TABS`.
"""
