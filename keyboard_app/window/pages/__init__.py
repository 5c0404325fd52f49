"""Pages over the keys: a title, a way back, and rows.

- `page`, `rows`: what every page is, and what it is made of
- `menu_page`, `chats_page`: what can be looked at and switched, and who there is to talk to
- `privacy_centre`, `privacy_centre_pages`: what is held about the owner, in words; and as pages
- `learning_status`, `learning_status_page`: what is learned, when, and with which model, in words; and as a page
"""
