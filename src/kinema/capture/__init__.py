"""Pictures from outside: cameras, files and network streams as one stream of (time, frame), of which the newest counts.

    with Capture("0") as capture:                 # or a file, rtsp://..., http://...
        while (frame := capture.read()) is not None or capture.state != "ended": ...

What can be opened and how is in sources.py; the thread that keeps the newest frame, and the states, are in newest.py.
"""
