"""The upstreams as the gateway knows them: who answers, who rests, what each has under way."""
