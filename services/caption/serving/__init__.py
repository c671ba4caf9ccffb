"""Synchronous answers: online captions, the chat endpoint, and deployments behind endpoints."""
