"""The console: the signer's web page, where a person with a phone answers what an app asks.

An approver like the terminal (`view/waiting.py`) and a Starlette app in the signer's process:

    server.py    listens, knows the console's address, and loads all the rest for the first request
    app.py       the routes, and what every template finds by name
    pages/       one file for each part of the site
    live.py      the stream that keeps a page of requests true
    routing.py   a page and an action: what every handler is wrapped in, and which proof it needs
    site.py      what pages work with: the console, and one request to it
    auth/        who may come in: host, device, origin, CSRF token, passkeys
    signer.py    what is asked of the running signer
    view/        words, chart, texts: every sentence that is shown, by language

Nothing that a client names is ever fetched, by us or by the browser.
"""

from typing import Final

# What the pages import of the extra `console`: looked for at the start, as they are loaded later.
LIBRARIES: Final = ("jinja2", "markupsafe", "python_multipart", "webauthn")
