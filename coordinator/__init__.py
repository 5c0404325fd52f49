"""The coordinator: selects devices, opens nothing but sums, averages them, publishes the next model.

- ``app`` the Flask application factory, ``web`` its device API, admin API and dashboard, ``serving`` how it is served
- ``service`` one coordinator, assembled
- ``settings`` every setting with its default, how they are checked and read
- ``rounds`` the round state machine, selection and pace steering
- ``aggregation`` from the opened sum to the next weights: unmasking, deviant cohorts, server optimisers
- ``experiments`` click-through by arm and version, and the trigger threshold, from exact counters
- ``privacy`` the noise a task plans for, and what was spent
- ``releases`` the model versions, where v0 comes from, the evaluation gate, signing and rollout
- ``storage`` every table; all state lives there, so any number of processes may serve
- ``operation`` what an operator needs: accounts, audit, health, backups, metrics
- ``reports``, ``task_reports`` what operators and product teams read
- ``trust``, ``trust_anchor`` whose certificates count
- ``authority`` the separate enrolment authority; nothing else in here imports it

The face is :func:`coordinator.app.create_app` with a :class:`coordinator.settings.Settings`.
"""
