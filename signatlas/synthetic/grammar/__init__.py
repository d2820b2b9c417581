"""Grammar over 30 glosses with German and English sentences: words, predicates, clauses, texts, sampling, balance."""
