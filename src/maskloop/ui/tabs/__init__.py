"""The tabs of the dock: signals of widgets wired to verbs of the session, and its events to widgets.

A tab decides nothing about data: what may be done, and why not, is asked of its part of the session
(`maskloop.ui.controllers`).
"""
