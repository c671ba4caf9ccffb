"""Take-downs, audits, exports, history and storage quotas."""
