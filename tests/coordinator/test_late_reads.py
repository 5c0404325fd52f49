"""A request has to arrive in time; an answer may take its time."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, time
from flask import Flask, request
from coordinator import serving
serving.READ_S = 0.4
app = Flask("patient")
@app.post("/length")
def length():
    return str(len(request.get_data()))
@app.route("/slow", methods=["GET", "POST"])
def slow():
    request.get_data()
    time.sleep(1.2)
    return "slow"
serving.serve(lambda: serving.ServedApp(app), host="127.0.0.1", port=0, threads=2)
"""


@pytest.fixture
def address():
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    yield process.stdout.readline().strip().rpartition("/")[2]
    process.terminate()
    process.communicate(timeout=60)


def left_to_read(sock):
    try:
        return sock.recv(1)
    except ConnectionError:
        return b""


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_connection_whose_answer_took_long_serves_the_next_request(address, method):
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request(method, "/slow", body=b"all of it" if method == "POST" else None)
    assert connection.getresponse().read() == b"slow"
    server_side = connection.sock
    connection.request("POST", "/length", body=bytes(300_000))
    assert connection.getresponse().read() == b"300000"
    assert connection.sock is server_side
    connection.close()


def test_a_request_that_does_not_arrive_in_time_is_not_answered_as_if_it_had(address):
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.putrequest("POST", "/length")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b"half of it")
    with contextlib.suppress(ConnectionError):  # whatever is said to the half, the connection ends with it
        connection.getresponse().read()
    connection.sock.settimeout(20)
    assert left_to_read(connection.sock) == b""
    connection.close()
