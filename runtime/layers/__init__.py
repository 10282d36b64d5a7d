"""The engine in layers, each knowing those before it: core, looking, answering, starting, verbs, results.

`runtime.engine.Engine` stands on the last of them: the facade people are given.
"""
