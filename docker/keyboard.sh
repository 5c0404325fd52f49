#!/bin/sh
# The keyboard window on a virtual display, shown in the browser: http://localhost:6080/vnc.html
set -eu
export DISPLAY=:0
ulimit -n 1024  # x11vnc walks over every possible descriptor when a viewer connects; Docker allows a billion of them
Xvfb :0 -screen 0 "${SCREEN:-420x800}x24" -nolisten tcp &
tries=0
until [ -e /tmp/.X11-unix/X0 ] || [ $tries -ge 50 ]; do tries=$((tries + 1)); sleep 0.1; done
x11vnc -display :0 -forever -shared -nopw -quiet -localhost -rfbport 5900 >/dev/null 2>&1 &
websockify --web /usr/share/novnc 6080 localhost:5900 >/dev/null 2>&1 &
exec python -m keyboard_app.cli run "$@"
