"""A user agent of PJSUA2 without sound: takes commands from standard input, one a line, and tells what happens.

    agent.py USER PORT [--registrar HOST:PORT] [--password WORD] [--100rel] [--timer] [--session-expires N] [--min-se N]
             [--mailbox] [--transport udp|tcp|tls|both] [--keep-alive SECONDS] [--certificate FILE] [--key FILE] [--ca FILE]

Commands: dial URI, dial-large URI (an INVITE of more than 1300 octets), hold, resume, update, hangup, transfer URI, transfer-attended, message URI TEXT, watch URI, unwatch,
unregister. They are for the last call; transfer-attended connects the far ends of the last two. Calls that come in are
answered, and so are transfers.

With --100rel all provisional responses are reliable ones (RFC 3262), with --timer all calls have a session timer (RFC
4028), in both directions. With --mailbox it subscribes to its own message-summary (RFC 3842). With --transport both the
library chooses; with --keep-alive it pings by its connections that often. Over TLS both sides must have a certificate that
the CA has signed. It ends with its standard input.
"""

import argparse
import ctypes
import os
import select
import sys

import pjsua2
from pjsua2 import _pjsua2


def tell(*words):
    print("EVENT", *words, flush=True)


class Call(pjsua2.Call):
    def __init__(self, account, calls, call_id=pjsua2.PJSUA_INVALID_ID):
        super().__init__(account, call_id)
        self.account, self.calls = account, calls

    def onCallState(self, _param):
        info = self.getInfo()
        tell("call", info.stateText, info.lastStatusCode, info.lastReason)

    def onCallMediaState(self, _param):
        # The info is kept while its parts are read: they are parts of it also in memory.
        info = self.getInfo()
        for media in info.media:
            tell("media", {1: "active", 2: "held here", 3: "held there"}.get(media.status, media.status))


    def onCallTransferRequest(self, param):
        tell("transfer to", param.dstUri)
        # The library takes the new call for the one that it places.
        param.newCall = self.started(Call(self.account, self.calls))

    def onCallTransferStatus(self, param):
        tell("transfer", param.statusCode, param.reason, "final" if param.finalNotify else "")

    def onCallReplaceRequest(self, param):
        tell("to be replaced")
        param.newCall = self.started(Call(self.account, self.calls))

    def onCallReplaced(self, param):
        tell("replaced")

    def started(self, call):
        self.calls.append(call)
        return call


class Buddy(pjsua2.Buddy):
    def onBuddyState(self):
        info = self.getInfo()
        tell("presence", info.subStateName, info.presStatus.statusText or "-", info.subTermReason or "-")


class Account(pjsua2.Account):
    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def onRegState(self, param):
        tell("registration", param.code, param.reason, "active" if self.getInfo().regIsActive else "gone")

    def onIncomingCall(self, param):
        call = Call(self, self.calls, param.callId)
        self.calls.append(call)
        for status in (180, 200):
            answer = pjsua2.CallOpParam()
            answer.statusCode = status
            call.answer(answer)

    def onInstantMessage(self, param):
        tell("message", param.fromUri, param.msgBody)

    def onInstantMessageStatus(self, param):
        tell("delivery", param.code, param.reason)

    def onMwiInfo(self, param):
        waiting = [line for line in param.rdata.wholeMsg.splitlines() if line.startswith("Messages-Waiting")]
        tell("mailbox", *(waiting or ["-"]))


def ping_after(seconds):
    """Sets the interval of its pings, which no class of the library leads to: two longs in a row, of TCP and of TLS."""
    library = ctypes.CDLL(_pjsua2.__file__)
    longs = (ctypes.c_long * 32).in_dll(library, "pjsip_sip_cfg_var")
    [at] = [at for at in range(31) if longs[at] == longs[at + 1] == 90]
    longs[at] = longs[at + 1] = seconds


def start_endpoint(options):
    endpoint = pjsua2.Endpoint()
    endpoint.libCreate()
    config = pjsua2.EpConfig()
    config.logConfig.level = config.logConfig.consoleLevel = 4
    # All happens in this thread, between two looks at the standard input.
    config.uaConfig.threadCnt = 0
    config.uaConfig.mainThreadOnly = True
    endpoint.libInit(config)
    endpoint.audDevManager().setNullDev()

    # One codec: an INVITE over 1300 octets would leave UDP for TCP (RFC 3261 section 18.1.1).
    for codec in endpoint.codecEnum2():
        endpoint.codecSetPriority(codec.codecId, 255 if codec.codecId.startswith("PCMU") else 0)

    transport = pjsua2.TransportConfig()
    transport.port = options.port
    transport.boundAddress = "127.0.0.1"
    if options.transport == "tls":
        tls = transport.tlsConfig
        tls.certFile, tls.privKeyFile, tls.CaListFile = options.certificate, options.key, options.ca
        tls.verifyServer = tls.verifyClient = tls.requireClientCert = True
    types = {
        "udp": [pjsua2.PJSIP_TRANSPORT_UDP],
        "tcp": [pjsua2.PJSIP_TRANSPORT_TCP],
        "tls": [pjsua2.PJSIP_TRANSPORT_TLS],
        "both": [pjsua2.PJSIP_TRANSPORT_UDP, pjsua2.PJSIP_TRANSPORT_TCP],
    }
    created = [endpoint.transportCreate(type, transport) for type in types[options.transport]]
    return endpoint, created[0] if options.transport == "udp" else None


def account_config(options, transport):
    config = pjsua2.AccountConfig()
    # A listener for connections is none that an account can be bound to: the URIs say what to send by.
    if transport is not None:
        config.sipConfig.transportId = transport
    parameter = f";transport={options.transport}" if options.transport in ("tcp", "tls") else ""
    config.mediaConfig.transportConfig.boundAddress = "127.0.0.1"

    if options.registrar:
        config.idUri = f"sip:{options.user}@test.local"
        config.regConfig.registrarUri = "sip:test.local" + parameter
        config.regConfig.timeoutSec = 60
        config.sipConfig.proxies.append(f"sip:{options.registrar}{parameter};lr")
        config.sipConfig.authCreds.append(pjsua2.AuthCredInfo("digest", "*", options.user, 0, options.password))
    else:
        config.idUri = f"sip:{options.user}@127.0.0.1:{options.port}{parameter}"

    if options.reliable:
        config.callConfig.prackUse = pjsua2.PJSUA_100REL_MANDATORY

    config.callConfig.timerUse = pjsua2.PJSUA_SIP_TIMER_ALWAYS if options.timer else pjsua2.PJSUA_SIP_TIMER_OPTIONAL
    config.callConfig.timerSessExpiresSec = options.session_expires
    config.callConfig.timerMinSESec = options.min_se
    config.mwiConfig.enabled = options.mailbox
    return config


def dial(account, calls, uri, padding=0):
    call = Call(account, calls)
    calls.append(call)
    param = pjsua2.CallOpParam(True)
    if padding:
        header = pjsua2.SipHeader()
        header.hName, header.hValue = "X-Padding", "x" * padding
        param.txOption.headers.append(header)
    call.makeCall(uri, param)


def resume(call):
    param = pjsua2.CallOpParam(True)
    param.opt.flag = pjsua2.PJSUA_CALL_UNHOLD
    call.reinvite(param)


def send_message(account, uri, text):
    config = pjsua2.BuddyConfig()
    config.uri = uri
    buddy = pjsua2.Buddy()
    buddy.create(account, config)
    param = pjsua2.SendInstantMessageParam()
    param.content = text
    buddy.sendInstantMessage(param)
    return buddy


def watch(account, uri):
    config = pjsua2.BuddyConfig()
    config.uri = uri
    config.subscribe = True
    buddy = Buddy()
    buddy.create(account, config)
    return buddy


def obey(line, account, calls, buddies):
    command, _, rest = line.partition(" ")
    if command == "dial":
        dial(account, calls, rest)
    elif command == "dial-large":
        dial(account, calls, rest, 1300)
    elif command == "hold":
        calls[-1].setHold(pjsua2.CallOpParam())
    elif command == "resume":
        resume(calls[-1])
    elif command == "update":
        calls[-1].update(pjsua2.CallOpParam(True))
    elif command == "hangup":
        calls[-1].hangup(pjsua2.CallOpParam())
    elif command == "transfer":
        calls[-1].xfer(rest, pjsua2.CallOpParam(True))
    elif command == "transfer-attended":
        calls[-2].xferReplaces(calls[-1], pjsua2.CallOpParam(True))
    elif command == "watch":
        buddies.append(watch(account, rest))
    elif command == "unwatch":
        buddies[-1].subscribePresence(False)
    elif command == "message":
        buddies.append(send_message(account, *rest.split(" ", 1)))
    elif command == "unregister":
        account.setRegistration(False)
    else:
        raise ValueError(line)


def lines_of_stdin():
    """What has been written to the standard input, without waiting; None once it is closed."""
    lines, rest = [], b""
    while select.select([0], [], [], 0)[0]:
        data = os.read(0, 4096)
        if not data:
            return None
        rest += data
        *whole, rest = rest.split(b"\n")
        lines += [line.decode() for line in whole]
    return lines


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("user")
    parser.add_argument("port", type=int)
    parser.add_argument("--registrar")
    parser.add_argument("--password", default="secret")
    parser.add_argument("--100rel", dest="reliable", action="store_true")
    parser.add_argument("--timer", action="store_true")
    parser.add_argument("--session-expires", type=int, default=1800)
    parser.add_argument("--min-se", type=int, default=90)
    parser.add_argument("--mailbox", action="store_true")
    parser.add_argument("--transport", choices=["udp", "tcp", "tls", "both"], default="udp")
    for file in ("certificate", "key", "ca"):
        parser.add_argument(f"--{file}")
    parser.add_argument("--keep-alive", type=int)
    return parser.parse_args()


def main(options):
    if options.keep_alive:
        ping_after(options.keep_alive)
    endpoint, transport = start_endpoint(options)
    endpoint.libStart()
    calls, buddies = [], []
    account = Account(calls)
    account.create(account_config(options, transport))
    tell("ready")

    while (lines := lines_of_stdin()) is not None:
        for line in lines:
            obey(line, account, calls, buddies)
        endpoint.libHandleEvents(20)

    # The destructors of the wrapped objects assert what is no more true at the end.
    os._exit(0)


main(arguments())
