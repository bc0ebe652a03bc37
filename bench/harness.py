"""What bench/run stands on: starting a target, driving it with sipload, and reading what it cost.

CPU is exact (/proc/PID/task/*/schedstat), summed over all threads and processes of the target.
Packet processing that the kernel does while the *generator* sends is the generator's: the same for every target.
"""
import glob, json, os, re, shutil, signal, subprocess, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
DIR = os.environ.get("BENCH_DIR", "/tmp/ringfence-bench")
LOAD_BIN = os.path.join(os.environ.get("BENCH_LOAD_TARGET", f"{HERE}/load/target"), "release")
LISTEN, TLS_LISTEN, INSIDE, BACKEND = "127.0.0.10:5060", "127.0.0.10:5061", "127.0.0.20:5080", "127.0.0.30:5080"
ADMIN = "127.0.0.10:9060"
OPENSIPS = os.environ.get("OPENSIPS", "")  # no Debian package: the source tree in which it was built
TARGET_CORE = None  # the one core a target is held to, if it is
PHONES_PORT = "15070"  # all phones', on addresses from 127.16.0.0 up; the generator binds it on every address


class Scenario:
    """A unit of work: what it holds, and how often to offer it when latency is measured."""

    def __init__(self, title, rate, transactions, messages):
        self.title, self.rate, self.transactions, self.messages = title, rate, transactions, messages


SCENARIOS = {
    "register": Scenario("REGISTER", 1000, 2, 4),  # REGISTER, 401, REGISTER with credentials, 200
    "invite": Scenario("call", 500, 3, 10),  # INVITE, 401, ACK, INVITE, 100, 180, 200, ACK, BYE, 200
    "options": Scenario("OPTIONS", 2000, 1, 2),  # OPTIONS, 200
}


def descendants(pid):
    children = {}
    for d in os.listdir("/proc"):
        if d.isdigit():
            try:
                stat = open(f"/proc/{d}/stat").read()
                children.setdefault(int(stat[stat.rindex(")") + 2:].split()[1]), []).append(int(d))
            except OSError:
                pass
    out, todo = [], [pid]
    while todo:
        p = todo.pop()
        out.append(p)
        todo += children.get(p, [])
    return out


def cpu_ns(pids):
    total = 0
    for p in pids:
        try:
            for t in os.listdir(f"/proc/{p}/task"):
                total += int(open(f"/proc/{p}/task/{t}/schedstat").read().split()[0])
        except OSError:
            pass
    return total


def ticks(pids):
    """(user, system) clock ticks so far."""
    user = system = 0
    for p in pids:
        try:
            stat = open(f"/proc/{p}/stat").read()
            f = stat[stat.rindex(")") + 2:].split()
            user, system = user + int(f[11]), system + int(f[12])
        except OSError:
            pass
    return user, system


def memory_kib(pids):
    """Shared pages counted once (PSS): for a single process that is its RSS."""
    pss = 0
    for p in pids:
        try:
            pss += int(re.search(r"^Pss:\s+(\d+)", open(f"/proc/{p}/smaps_rollup").read(), re.M).group(1))
        except (OSError, AttributeError):
            pass
    return pss


def descriptors(pids):
    """Open files and sockets of all of them."""
    total = 0
    for p in pids:
        try:
            total += len(os.listdir(f"/proc/{p}/fd"))
        except OSError:
            pass
    return total


def udp_sockets():
    """Inode -> (local address as /proc writes it, datagrams dropped because the socket was full)."""
    out = {}
    for line in open("/proc/net/udp").readlines()[1:]:
        f = line.split()
        out[f[9]] = (f[1], int(f[-1]))
    return out


def socket_drops(pids):
    inodes = set()
    for p in pids:
        try:
            for fd in os.listdir(f"/proc/{p}/fd"):
                link = os.readlink(f"/proc/{p}/fd/{fd}")
                if link.startswith("socket:["):
                    inodes.add(link[8:-1])
        except OSError:
            pass
    return sum(drops for inode, (_, drops) in udp_sockets().items() if inode in inodes)


def bound(address):
    ip, port = address.split(":")
    key = "%02X%02X%02X%02X:%04X" % (*[int(x) for x in reversed(ip.split("."))], int(port))
    return any(local == key for local, _ in udp_sockets().values())


def stop(process, sig=signal.SIGTERM):
    """Ends a process that this run started, and what that started."""
    if process is None or process.poll() is not None:
        return
    all_of_it = descendants(process.pid)
    process.send_signal(sig)
    try:
        process.wait(6)
    except subprocess.TimeoutExpired:
        for p in reversed(all_of_it):
            try:
                os.kill(p, signal.SIGKILL)
            except OSError:
                pass
        process.wait()


class NotStarted(Exception):
    pass


def moved(address, by):
    """The same port, so many addresses on."""
    ip, port = address.split(":")
    net, host = ip.rsplit(".", 1)
    return f"{net}.{int(host) + by}:{port}"


class Target:
    """A proxy under test between the phones and the PBX that sipload plays; `beside` another one: so many addresses on."""

    def __init__(self, name, transport="udp", ringfence=None, threads=2, beside=0):
        self.name, self.transport, self.ringfence, self.threads = name, transport, ringfence, threads
        self.listen, self.inside, self.admin = (moved(it, beside) for it in (LISTEN, INSIDE, ADMIN))
        self.process = None
        self.dir = f"{DIR}/{name}"

    def why_not(self):
        """Why this target can't run here, or None."""
        if self.name.startswith("kamailio") and not shutil.which("kamailio"):
            return "kamailio is not installed (apt-get install kamailio kamailio-extra-modules kamailio-tls-modules)"
        if self.name == "opensips-min" and not os.access(f"{OPENSIPS}/opensips", os.X_OK):
            return "OPENSIPS names no source tree in which it was built: see README.md"
        if self.name == "opensips-min" and self.transport != "udp":
            return "its configuration here speaks only UDP"
        if self.name.startswith("ringfence") and not os.access(self.ringfence or "", os.X_OK):
            return f"no binary at {self.ringfence} (cargo build --release -p ringfence)"
        if self.name == "null-relay" and self.transport != "udp":
            return "the null relay speaks only UDP"
        return None

    def render(self, template, name):
        text = open(f"{HERE}/targets/{template}").read()
        values = {"LISTEN": self.listen, "TLSLISTEN": TLS_LISTEN, "INSIDE": self.inside, "BACKEND": BACKEND, "ADMIN": self.admin, "DIR": self.dir,
                  "CHILDREN": str(self.threads), "OPENSIPS": OPENSIPS, "PIKE": "16" if self.transport == "udp" else "1000000",
                  "TLSYN": "yes" if self.transport == "tls" else "no"}
        for key, value in values.items():
            text = text.replace(f"@{key}@", value)
        path = f"{self.dir}/{name}"
        open(path, "w").write(text)
        return path

    def certificate(self):
        if not os.path.exists(f"{self.dir}/cert.pem"):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                            "-subj", "/CN=pbx.test", "-keyout", f"{self.dir}/key.pem", "-out", f"{self.dir}/cert.pem"],
                           check=True, stderr=subprocess.DEVNULL)

    def command(self):
        os.makedirs(self.dir, exist_ok=True)
        if self.transport == "tls":
            self.certificate()
        if self.name == "null-relay":
            return [f"{LOAD_BIN}/nullrelay", self.listen, BACKEND]
        if self.name.startswith("ringfence"):
            template = "ringfence-tls.yaml" if self.transport == "tls" else f"{self.name}.yaml"
            return [self.ringfence, "run", "--config", self.render(template, "ringfence.yaml")]
        if self.name == "opensips-min":
            config = self.render("opensips-min.cfg", "opensips.cfg")
            return [f"{OPENSIPS}/opensips", "-F", "-f", config, "-m", "4096", "-M", "16", "-a", "F_MALLOC", "-P", f"{self.dir}/pid"]
        shutil.copytree(f"{HERE}/targets/db", f"{self.dir}/db", dirs_exist_ok=True)
        defines = []
        if self.transport == "tls":
            self.render("kamailio-tls.cfg", "tls.cfg")
            defines = ["-A", "WITH_TLS"]
        config = self.render(f"{self.name}.cfg", "kamailio.cfg")
        # tlsf: the allocator that Debian's package starts with (qm, for debugging) is several times slower
        return ["kamailio", "-DD", "-f", config, "-m", "4096", "-M", "16", "-x", "tlsf", "-X", "tlsf",
                "-P", f"{self.dir}/pid", "-Y", self.dir, *defines]

    def forget(self):
        """Takes away what an earlier run has left to remember."""
        for path in glob.glob(f"{self.dir}/*.redb"):
            os.unlink(path)

    def start(self, wrap=(), patience=15):
        if self.name == "direct":
            return
        command = [*wrap, *self.command()]
        if TARGET_CORE is not None:
            command = ["taskset", "-c", str(TARGET_CORE), *command]
        self.log = open(f"{self.dir}/log", "w+")
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.log, cwd=self.dir)
        end = time.time() + patience
        while not bound(self.listen):
            if self.process.poll() is not None or time.time() > end:
                stop(self.process)
                raise NotStarted(f"{self.name} did not start: {open(self.dir + '/log').read()[-600:].strip() or 'it said nothing'}")
            time.sleep(0.05)
        time.sleep(0.3)

    def stop(self):
        stop(self.process)
        self.process = None

    def pids(self):
        return descendants(self.process.pid) if self.process else []

    def alive(self):
        return self.process is None or self.process.poll() is None

    def address(self):
        if self.name == "direct":
            return BACKEND
        return TLS_LISTEN if self.transport == "tls" else self.listen


class Pbx:
    """sipload in the PBX's role, for as long as the `with` lasts."""

    def __enter__(self):
        self.process = subprocess.Popen([f"{LOAD_BIN}/sipload", "uas", "--listen", BACKEND], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        end = time.time() + 5
        while not bound(BACKEND):
            if time.time() > end or self.process.poll() is not None:
                raise NotStarted(f"sipload uas did not bind {BACKEND}")
            time.sleep(0.02)
        return self

    def __exit__(self, *_):
        stop(self.process)


def phones(target, scenario, rate=0, count=10**9, seconds=0.0, window=256, sources=20000):
    """sipload in the phones' role: open loop at `rate`, or closed loop with `window` units in flight."""
    # the PBX that sipload plays speaks no TLS: what a proxy adds is counted from TCP on
    transport = "tcp" if target.name == "direct" and target.transport == "tls" else target.transport
    command = [f"{LOAD_BIN}/sipload", "uac", "--target", target.address(), "--scenario", scenario, "--rate", str(rate), "--count", str(int(count)),
               "--window", str(window), "--sources", str(sources), "--src-base", "127.16.0.0", "--users", "5000", "--nat", "1",
               "--port", PHONES_PORT, "--duration", str(seconds), "--transport", transport, "--conns", "200"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, err = process.communicate(timeout=180)
        return json.loads(out)
    except ValueError:
        sys.exit(f"bench: sipload did not run: {err[:600]}")
    finally:
        stop(process)


def measured(target, drive, settle):
    """Runs `drive`; adds what it cost the target meanwhile and in `settle` seconds after."""
    pids = target.pids()
    cpu, drops, (user, system) = cpu_ns(pids), socket_drops(pids), ticks(pids)
    result = drive()
    time.sleep(settle)
    result["cpu_us"] = round((cpu_ns(pids) - cpu) / 1e3 / max(1, result["completed"]), 2)
    result["drops"] = socket_drops(pids) - drops
    spent = [now - then for now, then in zip(ticks(pids), (user, system))]
    result["user_share"] = round(spent[0] / sum(spent), 2) if sum(spent) else 0
    result["memory_kib"] = memory_kib(pids)
    result["alive"] = target.alive()
    return result


def saturated(target, scenario, seconds):
    """Closed loop, 256 units in flight: CPU per unit is free of wake-ups."""
    phones(target, scenario, 500, 250, window=250)
    idle = memory_kib(target.pids())
    r = measured(target, lambda: phones(target, scenario, seconds=seconds), min(1, seconds / 2))
    return {**r, "idle_kib": idle}


def paced(target, scenario, seconds):
    """Open loop at a fixed rate: latency counts from the scheduled time."""
    rate = SCENARIOS[scenario].rate
    phones(target, scenario, rate, 250, window=rate * 4)
    return measured(target, lambda: phones(target, scenario, rate, rate * seconds, window=rate * 4), 0.2)


def ramp(target, scenario, start, step, seconds, tries):
    """The highest open-loop rate with nothing lost: no failure, no retransmission, no full socket, a p99 under 200 ms."""
    phones(target, scenario, 500, 250, window=250)
    rate, good = start, 0
    while rate < 400_000:
        for _ in range(tries):  # other load on the machine can spoil a try
            r = measured(target, lambda: phones(target, scenario, rate, rate * seconds, window=int(rate * 4)), 0.2)
            ok = (r["failed"] == 0 and r["retransmissions"] == 0 and r["drops"] == 0 and r["rate"] > 0.95 * rate
                  and r["unit_p99_us"] < 200_000)
            if ok:
                break
            time.sleep(0.5)
        if not ok:
            # the first step may have been too bold
            if good or rate < 200:
                break
            rate /= 2
            continue
        good = rate
        rate *= step
    return round(good)


def instructions(target, scenario, units=1000):
    """User-space instructions per unit by callgrind: a figure that other load on the machine cannot move."""
    def drive(n):
        with Pbx():
            phones(target, scenario, count=100, window=16)
            return phones(target, scenario, count=n, window=16)["completed"]

    (n0, i0), (n1, i1) = (counted(target, lambda: drive(n)) for n in (units // 5, units))
    return round((i1 - i0) / (n1 - n0)) if n1 > n0 else None


def counted(target, drive):
    """What `drive` gives, and the user-space instructions of the target's whole life with it."""
    for f in glob.glob(f"{target.dir}/callgrind.*"):
        os.unlink(f)
    target.forget()
    target.start(["valgrind", "--tool=callgrind", f"--callgrind-out-file={target.dir}/callgrind.%p", "--trace-children=yes"], patience=60)
    time.sleep(3)
    try:
        done = drive()
        time.sleep(1)
    finally:
        target.stop()
    texts = (open(f, errors="replace").read() for f in glob.glob(f"{target.dir}/callgrind.*"))
    found = (re.search(r"^(?:summary|totals): (\d+)", text, re.M) for text in texts)
    return done, sum(int(it.group(1)) for it in found if it)
