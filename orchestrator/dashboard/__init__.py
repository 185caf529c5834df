"""The operator's dashboard: pages rendered from the store, and one live stream per tab.

Nothing here calls a broker, a store of objects or a cluster: what they are like is written down by those who use them,
so that every page answers while they do not.
"""
