"""Pages: what people see in a browser. Server-rendered HTML; nothing of it lives in the browser.

`routes(web)` are all of them. A module here is one page (or one kind of part):

    screen      how a page is made: layout, errors, links, times, the message of the last action
    deeds       every action of every page: one address, one table, shown as a request
    live        one feed for all tabs; parts of pages are fetched again when something happened
    fields      a JSON Schema as form fields, and fields back as JSON
    timeline    entries as bars
    drawing     plans and histories as boxes
    home instances instance inbox events retries schedules definitions subscriptions board health

The rules: no inline script or style (the CSP forbids both); no address of another host; every
link holds under a mount prefix (`root`); a page works without JavaScript, which only makes it
live; an action is a method of `calls.CALLS` with the very parameters the socket takes.
"""
