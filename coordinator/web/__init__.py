"""HTTP: the device API (``device_api``), the operators' JSON (``admin_api``) and one live page (``dashboard``)."""
