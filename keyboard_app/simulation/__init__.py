"""People who are not there: typists who replay real text through the same code as the window, fleets of headless
devices, and the demo that runs a whole federation on one machine.

``replay`` reads files of typed lines, ``splits`` says who trains on which, ``typist`` decides who taps what,
``person`` types on a keyboard, ``fleet`` hosts many devices, ``evaluation`` scores a model on people who never trained
it, ``demo`` starts everything with one command.
"""

from keyboard_app.simulation.replay import ReplayError, ReplayLine, read_replay
from keyboard_app.simulation.splits import is_held_out
from keyboard_app.simulation.typist import Typist, TypistError, TypistSetting, load_typist_setting

__all__ = [
    "ReplayError",
    "ReplayLine",
    "Typist",
    "TypistError",
    "TypistSetting",
    "is_held_out",
    "load_typist_setting",
    "read_replay",
]
