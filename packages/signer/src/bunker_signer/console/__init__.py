"""The console: the signer's web page, where a person with a phone answers what an app asks.

An approver like the terminal (`waiting.py`) and a Starlette app in the signer's process:

    server.py    listens, and knows the console's address
    guard.py     who may come in: host, device, origin, CSRF token; the headers of every answer
    routing.py   a page and an action: what every handler is wrapped in
    accounts.py  bound devices, links that bind one, passkeys
    pages/       one file for each part of the site
    words.py     a question in words; plain.py makes a stranger's text harmless and visible
    texts.py     every sentence that is shown, by language

Nothing that a client names is ever fetched, by us or by the browser.
"""
