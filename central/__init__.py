"""The centre: subscribes, verifies, stores, answers with signed receipts, alerts, reports and traces."""
