"""The page: one folder for each tab, `charts` for its pictures, and beside them what every tab shares.

Only this room and app.py import gradio. Nothing here trains: a run is a process of its own, and the page reads its
folder.
"""
