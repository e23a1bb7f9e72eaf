"""A network camera: serves a GStreamer pipeline as rtsp://127.0.0.1:PORT/camera until it is killed.

usage: rtsp_server.py PORT PIPELINE

PORT 0 is any that is free. Prints the port once it listens.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

Gst.init(None)
server = GstRtspServer.RTSPServer(address="127.0.0.1", service=sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(sys.argv[2])
factory.set_shared(True)
server.get_mount_points().add_factory("/camera", factory)
if not server.attach(None):
    sys.exit(f"rtsp_server: cannot listen on port {sys.argv[1]}")
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
