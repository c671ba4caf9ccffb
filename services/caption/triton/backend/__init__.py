"""What runs in Triton's process: `NAME_model.py` is put into a model's folder as `model.py`.

These files are copied beside each model, so they import each other as top-level modules.
"""
