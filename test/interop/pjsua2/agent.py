"""A user agent of PJSUA2 without sound: takes commands from standard input, one a line, and tells what happens.

    agent.py USER PORT [REGISTRAR_HOST:PORT PASSWORD] [--100rel]

Commands: dial URI, hold, resume, hangup, message URI TEXT, unregister. Calls that come in are
answered. With --100rel all provisional responses are reliable ones (RFC 3262), in both directions. It ends with its
standard input.
"""

import os
import select
import sys

import pjsua2


def tell(*words):
    print("EVENT", *words, flush=True)


class Call(pjsua2.Call):
    def onCallState(self, _param):
        info = self.getInfo()
        tell("call", info.stateText, info.lastStatusCode, info.lastReason)

    def onCallMediaState(self, _param):
        # The info is kept while its parts are read: they are parts of it also in memory.
        info = self.getInfo()
        for media in info.media:
            tell("media", {1: "active", 2: "held here", 3: "held there"}.get(media.status, media.status))


class Account(pjsua2.Account):
    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def onRegState(self, param):
        tell("registration", param.code, param.reason, "active" if self.getInfo().regIsActive else "gone")

    def onIncomingCall(self, param):
        call = Call(self, param.callId)
        self.calls.append(call)
        for status in (180, 200):
            answer = pjsua2.CallOpParam()
            answer.statusCode = status
            call.answer(answer)

    def onInstantMessage(self, param):
        tell("message", param.fromUri, param.msgBody)

    def onInstantMessageStatus(self, param):
        tell("delivery", param.code, param.reason)


def start_endpoint(port):
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
    transport.port = port
    transport.boundAddress = "127.0.0.1"
    return endpoint, endpoint.transportCreate(pjsua2.PJSIP_TRANSPORT_UDP, transport)


def account_config(user, port, transport, registrar, reliable):
    config = pjsua2.AccountConfig()
    config.sipConfig.transportId = transport
    config.mediaConfig.transportConfig.boundAddress = "127.0.0.1"

    if registrar:
        address, password = registrar
        config.idUri = f"sip:{user}@test.local"
        config.regConfig.registrarUri = "sip:test.local"
        config.regConfig.timeoutSec = 60
        config.sipConfig.proxies.append(f"sip:{address};lr")
        config.sipConfig.authCreds.append(pjsua2.AuthCredInfo("digest", "*", user, 0, password))
    else:
        config.idUri = f"sip:{user}@127.0.0.1:{port}"

    if reliable:
        config.callConfig.prackUse = pjsua2.PJSUA_100REL_MANDATORY

    return config


def dial(account, calls, uri):
    call = Call(account)
    calls.append(call)
    call.makeCall(uri, pjsua2.CallOpParam(True))


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


def obey(line, account, calls, buddies):
    command, _, rest = line.partition(" ")
    if command == "dial":
        dial(account, calls, rest)
    elif command == "hold":
        calls[-1].setHold(pjsua2.CallOpParam())
    elif command == "resume":
        resume(calls[-1])
    elif command == "hangup":
        calls[-1].hangup(pjsua2.CallOpParam())
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


def main(user, port, *arguments):
    reliable = "--100rel" in arguments
    registrar = [argument for argument in arguments if argument != "--100rel"]
    endpoint, transport = start_endpoint(int(port))
    endpoint.libStart()
    calls, buddies = [], []
    account = Account(calls)
    account.create(account_config(user, port, transport, registrar, reliable))
    tell("ready")

    while (lines := lines_of_stdin()) is not None:
        for line in lines:
            obey(line, account, calls, buddies)
        endpoint.libHandleEvents(20)

    # The destructors of the wrapped objects assert what is no more true at the end.
    os._exit(0)


main(*sys.argv[1:])
