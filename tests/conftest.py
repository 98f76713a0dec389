"""What every test may use. The folder is the marker: nothing under ``unit`` may open a socket."""

pytest_plugins = [
    "turncall_testkit.logged",
    "turncall_testkit.stack",
    "turncall_testkit.sockets",
    "turncall_testkit.house",
]
