"""The window: keys, suggestion strip, chat and search card, drawn with Kivy's own widgets.

- `commands`, `assembly`, `app`, `instances`: ``keyboard-app run``: a keyboard put together, one or several in a window
- `shell`: one keyboard: the screen one types on, and the pages over it
- `screen`, `areas`: that screen, and where its parts lie; `header`, `conversation`, `composer`, `strip` (words, query)
- `layouts`, `presses`, `input`, `hardware`: what a key is, which touch fires it, what it does to the typing session
- `keys`, `key_pictures`, `emoji`: keys as they are drawn
- `tapped_query`, `search_card`, `search_results`: what a tapped query leads to
- `refusals`, `menu`: what a long press offers
- `dialogue`, `chats`, `partner`: who there is to talk to; `clipboard`: what was copied
- `pages/`: what lies over the keys: menu, chats, privacy centre, learning status
- `focus`, `pressable`, `painting`, `theme`, `partial_drawing`, `event_loop`, `environment`: what all of it stands on

Kivy lives here and nowhere else. What knows and decides is plain Python (`layouts`, `presses`, `input`, `chats`,
`search_results`, `pages.privacy_centre`, `pages.learning_status` ...); `themes/`, `layouts/` and `partners/` hold data.
Everything a person types goes to one :class:`keyboard_app.suggestions.TypingSession`, everything shown about the
device comes from :attr:`keyboard_app.device.DeviceRuntime.status`. Importing this package does not import Kivy:
`environment.prepare` has to run first.
"""
