import time
from tests.conformance.test_clients import *
def test_x(hub, clients):
    for i in range(15):
        late = {kind: make(kind, hub.url, reconnection=False) for kind in HERE if not kind.startswith("python")}
        t=time.monotonic()
        for kind, client in late.items():
            client.wait("connect_error", seconds=60)
        w=time.monotonic()-t
        slow=[]
        for kind, client in late.items():
            t=time.monotonic()
            client.__exit__(None,None,None); d=time.monotonic()-t
            if d>1: slow.append((kind, round(d,1), client.told))
        print(i, round(w,1), slow, flush=True)
