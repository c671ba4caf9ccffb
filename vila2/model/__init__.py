"""Build or load a vision-language model, find its parts, format its chats and process images."""
