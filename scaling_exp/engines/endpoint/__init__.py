"""What the client of OpenAI-compatible servers decides: what a bad reply means, whom to ask next, what a server can do.

`engines/openai.py` does the talking; nothing here opens a connection.
"""
