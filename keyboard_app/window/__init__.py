"""The window: keys, suggestion strip, chat and search card, drawn with Kivy's own widgets.

Kivy and nothing but Kivy lives here. `layouts`, `presses` and `input` are plain Python (what a key is, which touch
fires it, what it does to the typing session); `themes/`, `layouts/` and `partners/` hold data files; the rest draws.
Everything a person types goes to one :class:`keyboard_app.suggestions.TypingSession`, everything shown about the
device comes from :attr:`keyboard_app.device.DeviceRuntime.status`. Importing this package does not import Kivy:
`environment.prepare` has to run first.
"""
