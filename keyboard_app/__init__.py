"""The device: what the person sees, and what their device does meanwhile. It meets a coordinator on the wire only.

``window``, ``text`` and ``suggestions`` are the keyboard; ``device`` keeps models and takes part in rounds;
``simulation`` types for measurements.
"""

VERSION = "0.1.0"
"""Of the app, told with each check-in; the project's own, also where the package runs without being installed."""
