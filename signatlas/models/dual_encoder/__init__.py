"""The dual encoder of sentence retrieval (CiCo)."""
