"""A PJSUA2 phone for the integration tests.

    phone.py USER PASSWORD DOMAIN SERVER:PORT udp|tcp|tls ADDRESS call NUMBER
    phone.py ...                                                  answer

Registers; then calls the number, or waits for one call and answers it. Prints a line for each fact
(`registered 200`, `call CONFIRMED`, `heard`, `call DISCONNECTED 200`). A caller hangs up when it has heard
something; the phone ends with its call, taking its registration back.
"""

import sys

import pjsua2 as pj

user, password, domain, server, transport, address, what, *number = sys.argv[1:]


def say(*words):
    # a line of its own: what the library writes comes in pieces that end anywhere
    print("\n" + " ".join(map(str, words)), flush=True)


class Call(pj.Call):
    ended = False

    def onCallState(self, _):
        info = self.getInfo()
        code = info.lastStatusCode if info.stateText == "DISCONNCTD" else ""
        say("call", info.stateText, code)
        self.ended = info.state == pj.PJSIP_INV_STATE_DISCONNECTED

    def heard(self):
        try:
            return self.getStreamStat(0).rtcp.rxStat.pkt > 0
        except pj.Error:
            return False


class Account(pj.Account):
    registered = False
    call = None

    def onRegState(self, state):
        say("registered", state.code)
        self.registered = state.code == 200

    def onIncomingCall(self, incoming):
        self.call = Call(self, incoming.callId)
        self.call.answer(operation(200))


def operation(code=0):
    parameters = pj.CallOpParam(True)
    parameters.statusCode = code
    return parameters


def wait(endpoint, fact):
    for _ in range(400):
        endpoint.libHandleEvents(50)
        if fact():
            return
    sys.exit("nothing happened")


endpoint = pj.Endpoint()
endpoint.libCreate()
config = pj.EpConfig()
config.uaConfig.threadCnt = 0
config.uaConfig.mainThreadOnly = True
config.logConfig.level = 4
config.logConfig.consoleLevel = 4
endpoint.libInit(config)
endpoint.audDevManager().setNullDev()
bound = pj.TransportConfig()
bound.boundAddress = address
kinds = {"udp": pj.PJSIP_TRANSPORT_UDP, "tcp": pj.PJSIP_TRANSPORT_TCP, "tls": pj.PJSIP_TRANSPORT_TLS}
endpoint.transportCreate(kinds[transport], bound)
endpoint.libStart()

settings = pj.AccountConfig()
settings.idUri = f"sip:{user}@{domain}"
settings.regConfig.registrarUri = f"sip:{domain}"
settings.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", user, 0, password))
settings.sipConfig.proxies.append(f"sip:{server};transport={transport};lr")
settings.mediaConfig.transportConfig.boundAddress = address
account = Account()
account.create(settings)
wait(endpoint, lambda: account.registered)

if what == "call":
    account.call = Call(account)
    account.call.makeCall(f"sip:{number[0]}@{domain}", operation())
    wait(endpoint, account.call.heard)
    say("heard")
    account.call.hangup(pj.CallOpParam())
else:
    wait(endpoint, lambda: account.call is not None)
wait(endpoint, lambda: account.call.ended)
account.call = None
account.setRegistration(False)
wait(endpoint, lambda: not account.getInfo().regIsActive)
endpoint.libDestroy()
say("done")
