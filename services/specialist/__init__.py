"""The specialist service: finetune a specialist, let it recaption a dataset by its task."""
