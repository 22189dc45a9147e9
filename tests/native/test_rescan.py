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

def test_y(world, agent):
    d = world.add_domain("alice", disks=[("xvda","qcow2")])
    d.write("xvda", 0, b"a"*4096)
    d.qmp("blockdev-add", driver="blkdebug", node_name="xvda-hold", image={"driver":"null-co","size":67108864,"read-zeroes":True}, inject_error=[{"event":"none","iotype":t} for t in ("read","write","write-zeroes","discard")])
    print(json.dumps(nodes(d)))
    swap(d, "xvda-qcow2", "xvda-hold")
    print("PLAIN", json.dumps(nodes(d)))
    assert 0
def test_z(world, agent):
    base=f"{world.images}/base.raw"; subprocess.run(["truncate","-s","64M",base],check=True)
    top=f"{world.images}/top.qcow2"; subprocess.run(["qemu-img","create","-q","-f","qcow2","-b",base,"-F","raw",top],check=True)
    d = world.add_domain("alice", disks=[dict(vdev="xvda",path=top)]) if 0 else None
    from native.domain import Disk
    Disk.make_image=lambda self, f, n: None
    d = world.add_domain("alice", disks=[dict(vdev="xvda",path=top)])
    d.write("xvda", 0, b"a"*4096)
    print(json.dumps(nodes(d)))
    n=nodes(d); b=[x for x in n if n[x]==base and d][0]
    ch=d.qmp("query-named-block-nodes", flat=True)
    b=[x["node-name"] for x in ch if x["file"]==base and x["drv"]=="raw"][0]
    d.qmp("block-commit", job_id="c", device="xvda-qcow2", top_node="xvda-qcow2", base_node=b, auto_dismiss=False)
    while [x for x in d.qmp("query-jobs")][0]["status"]!="ready": pass
    d.qmp("job-complete", id="c")
    while [x for x in d.qmp("query-jobs")][0]["status"]!="concluded": pass
    d.qmp("job-dismiss", id="c")
    print("COMMITTED", json.dumps(nodes(d)), d.open_files())
    d.unplug("xvda")
    print("UNPLUGGED", json.dumps(nodes(d)), d.open_files())
    assert 0
