import json, os, subprocess, time
def nodes(d):
    return {n["node-name"]: n["file"] for n in d.qmp("query-named-block-nodes", flat=True)}
def swap(d, root, new, job="j"):
    t=time.monotonic()
    d.qmp("blockdev-mirror", job_id=job, device=root, target=new, sync="none", auto_dismiss=False)
    while True:
        j=[x for x in d.qmp("query-jobs") if x["id"]==job][0]
        if j["status"]=="ready": break
        time.sleep(0.001)
    d.qmp("job-complete", id=job)
    while True:
        j=[x for x in d.qmp("query-jobs") if x["id"]==job][0]
        if j["status"]=="concluded": break
        time.sleep(0.001)
    d.qmp("job-dismiss", id=job)
    print("swap", root, new, j, time.monotonic()-t)
def test_x(world, agent):
    d = world.add_domain("alice", disks=[("xvda","raw")])
    d.write("xvda", 0, b"a"*4096)
    r = agent.request("create", domain="alice", name="s1", memory=0); print(r)
    d.write("xvda", 4096, b"b"*4096)
    print(json.dumps(nodes(d),indent=1))
    e=d.block_entry("xvda"); print({k:v for k,v in e["inserted"].items() if k!="image"})
    root=e["inserted"]["node-name"]
    d.qmp("blockdev-add", driver="blkdebug", node_name="xvda-hold", image={"driver":"null-co","size":67108864,"read-zeroes":True}, inject_error=[{"event":"none","iotype":t} for t in ("read","write","write-zeroes","discard")])
    swap(d, root, "xvda-hold")
    print("held", json.dumps(nodes(d),indent=1), d.open_files())
    try: d.read("xvda",0,4096)
    except OSError as x: print("read:",x)
    for n in (root, "xvda-raw"):
        try: d.qmp("blockdev-del", node_name=n); print("deleted", n)
        except Exception as x: print(n, x)
    print("held", json.dumps(nodes(d),indent=1), d.open_files())
    active=r["result/disks/xvda/path"]
    subprocess.run(["qemu-img","commit","-f","qcow2",active],check=True)
    d.qmp("blockdev-add", driver="qcow2", node_name="xvda-raw", discard="unmap", file={"driver":"file","filename":active,"locking":"off","discard":"unmap"})
    print(json.dumps(nodes(d),indent=1))
    swap(d, "xvda-hold", "xvda-raw")
    try: d.qmp("blockdev-del", node_name="xvda-hold"); print("deleted")
    except Exception as x: print("hold",x)
    print(json.dumps(nodes(d),indent=1))
    assert d.read("xvda",0,8192)==b"a"*4096+b"b"*4096
    r = agent.request("create", domain="alice", name="s2", memory=0); print(r)
    r = agent.request("delete", domain="alice", name="s2"); print(r)
    print(json.dumps(nodes(d),indent=1))
    d.unplug("xvda")
    print(json.dumps(nodes(d),indent=1), d.open_files())
    assert 0
