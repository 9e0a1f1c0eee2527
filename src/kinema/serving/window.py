"""A window with the answered pictures, by the toolkit that comes with Python (tkinter)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from kinema.capture.newest import State
from kinema.layout import Layout
from kinema.serving.drawing import draw_step
from kinema.serving.live import Background, Engine, Moment

if TYPE_CHECKING:
    from PIL.Image import Image

_REFRESH_MS = 10
_SOURCE = {"opening": "opening the source ...", "stalled": "no pictures come", "lost": "the source is lost; trying again ..."}


def display() -> Any:
    """A hidden window, or None where there is no display (or no tkinter) for one."""
    try:
        import tkinter

        from PIL import ImageTk  # noqa: F401

        root = tkinter.Tk()
    except Exception:  # tkinter.TclError, and ImportError where Python came without it
        return None
    root.withdraw()
    return root


class Window(Background):
    """Shows the newest moment. Escape, q or closing it stops the engine; m mirrors the picture, as for one's own camera.

    Drawing goes on in a thread of its own; `run` must be called in the main thread, and returns when the window is closed or the
    engine has stopped.
    """

    def __init__(self, root: Any, title: str, layout: Layout, mirror: bool = False):
        import tkinter

        self._layout, self._mirror = layout, mirror
        self._lock, self._newest, self._rate = threading.Lock(), None, 0.0
        self._note, self._last_time = "", None
        self._root = root
        root.title(f"{title} - Kinema")
        root.configure(background="#000000")
        self._label = tkinter.Label(root, borderwidth=0, background="#000000", foreground="#e8ecf2", text=_SOURCE["opening"])
        self._label.pack(expand=True, fill="both")
        self._photo, self._size, self._shown = None, (0, 0), False
        for key in ("<Escape>", "q"):
            root.bind(key, lambda _: self._close_window())
        root.bind("m", lambda _: setattr(self, "_mirror", not self._mirror))
        root.protocol("WM_DELETE_WINDOW", self._close_window)
        super().__init__(self._draw)

    def run(self, engine: Engine) -> None:
        """Run the engine in a thread and show what it finds. Raises what the engine raised."""
        failed: list[BaseException] = []

        def work() -> None:
            try:
                engine.run()
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=work, name="engine", daemon=True)
        self._shown, self._engine_thread = True, thread
        self._root.deiconify()
        thread.start()
        self._root.after(_REFRESH_MS, self._refresh)
        try:
            self._root.mainloop()
        finally:
            engine.stop()
            thread.join(10)
        if failed:
            raise failed[0]

    def state(self, state: State, reason: str) -> None:
        self._note = _SOURCE.get(state, "")

    def _draw(self, moment: Moment) -> None:
        if self._last_time is not None and moment.frame.ready > self._last_time:
            self._rate += 0.1 * (1 / (moment.frame.ready - self._last_time) - self._rate)
        self._last_time = moment.frame.ready
        note = f"{self._rate:.0f} pictures/s   {1e3 * moment.latency:.0f} ms"
        image, step = (moment.frame.image, moment.step) if not self._mirror else _mirrored(moment)
        picture = draw_step(image, step, self._layout, self._note or note)
        with self._lock:
            self._newest = picture

    def _refresh(self) -> None:
        with self._lock:
            picture, self._newest = self._newest, None
        if picture is not None:
            self._show(picture)
        if self._engine_thread.is_alive():
            self._root.after(_REFRESH_MS, self._refresh)
        else:
            self._close_window()

    def _show(self, picture: Image) -> None:
        from PIL import ImageTk

        if self._photo is None or picture.size != self._size:
            self._photo, self._size = ImageTk.PhotoImage(picture, master=self._root), picture.size
            self._label.configure(image=self._photo)
        else:
            self._photo.paste(picture)

    def _close_window(self) -> None:
        if self._shown:
            self._shown = False
            self._root.destroy()


def _mirrored(moment: Moment) -> tuple[np.ndarray, Any]:
    """The picture and its poses as in a mirror; which side is left stays what it is."""
    from dataclasses import replace

    image, width = np.ascontiguousarray(moment.frame.image[:, ::-1]), moment.frame.image.shape[1]
    poses = []
    for pose in moment.step.poses:
        points, box = pose.points.copy(), pose.box.copy()
        points[:, 0] = width - points[:, 0]
        box[[0, 2]] = width - pose.box[[2, 0]]
        poses.append(replace(pose, points=points, box=box))
    return image, replace(moment.step, poses=poses)
