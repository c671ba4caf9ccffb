"""What a submission is, and one source as several datasets; `vila2.client.submit` sends them."""
