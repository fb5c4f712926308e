"""SnapStart's hooks, with the names and order of AWS's module of this name."""

_before_snapshot = []
_after_restore = []


def register_before_snapshot(func, *args, **kwargs):
    """Calls func before the snapshot is taken; what is registered last runs first."""
    _before_snapshot.append((func, args, kwargs))
    return func


def register_after_restore(func, *args, **kwargs):
    """Calls func after every restore, in the order of registration."""
    _after_restore.append((func, args, kwargs))
    return func


def run_before_snapshot():
    while _before_snapshot:
        func, args, kwargs = _before_snapshot.pop()
        func(*args, **kwargs)


def run_after_restore():
    for func, args, kwargs in _after_restore:
        func(*args, **kwargs)
