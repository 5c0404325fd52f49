"""What devices and coordinator agree on: no I/O, no Flask, no Kivy, no TensorFlow.

- :mod:`~federated_protocol.messages`, :mod:`~federated_protocol.plan`: what travels, what a round asks of a device
- :mod:`~federated_protocol.wire`: messages to bytes and back, bounded and silent about content
- :mod:`~federated_protocol.signing`, :mod:`~federated_protocol.enrolment`: identity keys, signatures, certificates
- :mod:`~federated_protocol.trust`, :mod:`~federated_protocol.renewal`: authority keys, revocations, a device's next key
- :mod:`~federated_protocol.update_codec`: a float update and exact counters as integers modulo 2^bits, and back
- :mod:`~federated_protocol.secure_aggregation`: sums of such vectors that the coordinator cannot look behind
- :mod:`~federated_protocol.vector_layout`: the fields of a vector and their bit-packed form
- :mod:`~federated_protocol.errors`, :mod:`~federated_protocol.randomness`
"""
