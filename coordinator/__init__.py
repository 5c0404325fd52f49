"""The coordinator: selects devices, opens nothing but sums, averages them, publishes the next model.

- ``app`` the Flask application factory, ``web`` its device API, admin API and dashboard
- ``rounds`` the round state machine, selection and pace steering
- ``aggregation`` from the opened sum to the next weights: FedAvg, server optimisers, the evaluation gate
- ``experiments`` click-through by arm and version, and the trigger threshold, from exact counters
- ``releases`` the model versions and where v0 comes from
- ``storage`` every table; all state lives there, so any number of processes may serve
- ``authority`` the separate enrolment authority; nothing else in here imports it

The face is :func:`coordinator.app.create_app` with a :class:`coordinator.settings.Settings`.
"""
