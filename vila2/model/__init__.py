"""Build or load a vision-language model, name its parts, speak its chat format, caption with it."""
