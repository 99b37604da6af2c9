"""Names that others have given: socket options, errors and signals of Linux, counters of its network stack.

Kept as lists, for a lab file is checked on computers whose Python knows other names, or none.
"""

from __future__ import annotations

# socket(7), tcp(7), ip(7), ipv6(7): what an agent can set or get, by their C names.
SOCKET_OPTIONS = frozenset(
    """
    SO_ACCEPTCONN SO_BINDTODEVICE SO_BROADCAST SO_DEBUG SO_DOMAIN SO_DONTROUTE SO_ERROR SO_INCOMING_CPU
    SO_KEEPALIVE SO_LINGER SO_MARK SO_MAX_PACING_RATE SO_OOBINLINE SO_PRIORITY SO_PROTOCOL SO_RCVBUF
    SO_RCVBUFFORCE SO_RCVLOWAT SO_REUSEADDR SO_REUSEPORT SO_SNDBUF SO_SNDBUFFORCE SO_SNDLOWAT SO_TYPE
    SO_ZEROCOPY
    TCP_CONGESTION TCP_CORK TCP_DEFER_ACCEPT TCP_FASTOPEN TCP_INFO TCP_KEEPCNT TCP_KEEPIDLE TCP_KEEPINTVL
    TCP_LINGER2 TCP_MAXSEG TCP_NODELAY TCP_NOTSENT_LOWAT TCP_QUICKACK TCP_SYNCNT TCP_USER_TIMEOUT
    TCP_WINDOW_CLAMP
    IP_BIND_ADDRESS_NO_PORT IP_MULTICAST_LOOP IP_MULTICAST_TTL IP_RECVTOS IP_TOS IP_TRANSPARENT IP_TTL
    IPV6_DONTFRAG IPV6_MULTICAST_HOPS IPV6_MULTICAST_LOOP IPV6_RECVTCLASS IPV6_TCLASS IPV6_UNICAST_HOPS
    IPV6_V6ONLY
    """.split()  # noqa: SIM905
)
TEXT_OPTIONS = frozenset({"SO_BINDTODEVICE", "TCP_CONGESTION"})

# errno(3): what a call on a socket can fail with.
ERRORS = frozenset(
    """
    E2BIG EACCES EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EALREADY EBADF EBUSY ECONNABORTED ECONNREFUSED
    ECONNRESET EDESTADDRREQ EDOM EEXIST EFAULT EHOSTDOWN EHOSTUNREACH EINPROGRESS EINTR EINVAL EIO EISCONN
    EMFILE EMSGSIZE ENETDOWN ENETRESET ENETUNREACH ENFILE ENOBUFS ENODEV ENOENT ENOMEM ENONET ENOPROTOOPT
    ENOTCONN ENOTSOCK EOPNOTSUPP EPERM EPIPE EPROTO EPROTONOSUPPORT EPROTOTYPE ERANGE ESHUTDOWN ETIMEDOUT
    """.split()  # noqa: SIM905
)

# signal(7), without SIG.
SIGNALS = frozenset("ABRT ALRM CONT HUP INT KILL PIPE QUIT STOP TERM TSTP USR1 USR2 WINCH".split())  # noqa: SIM905

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT")

# Protocol → counters, as Linux 6.18 has them in /proc/net/snmp and /proc/net/netstat (man nstat).
_COUNTERS = {
    "TcpExt": """
        SyncookiesSent SyncookiesRecv SyncookiesFailed EmbryonicRsts PruneCalled RcvPruned OfoPruned
        OutOfWindowIcmps LockDroppedIcmps ArpFilter TW TWRecycled TWKilled PAWSActive PAWSEstab BeyondWindow
        TSEcrRejected PAWSOldAck PAWSTimewait DelayedACKs DelayedACKLocked DelayedACKLost ListenOverflows
        ListenDrops TCPHPHits TCPPureAcks TCPHPAcks TCPRenoRecovery TCPSackRecovery TCPSACKReneging
        TCPSACKReorder TCPRenoReorder TCPTSReorder TCPFullUndo TCPPartialUndo TCPDSACKUndo TCPLossUndo
        TCPLostRetransmit TCPRenoFailures TCPSackFailures TCPLossFailures TCPFastRetrans TCPSlowStartRetrans
        TCPTimeouts TCPLossProbes TCPLossProbeRecovery TCPRenoRecoveryFail TCPSackRecoveryFail
        TCPRcvCollapsed TCPBacklogCoalesce TCPDSACKOldSent TCPDSACKOfoSent TCPDSACKRecv TCPDSACKOfoRecv
        TCPAbortOnData TCPAbortOnClose TCPAbortOnMemory TCPAbortOnTimeout TCPAbortOnLinger TCPAbortFailed
        TCPMemoryPressures TCPMemoryPressuresChrono TCPSACKDiscard TCPDSACKIgnoredOld
        TCPDSACKIgnoredNoUndo TCPSpuriousRTOs TCPMD5NotFound TCPMD5Unexpected TCPMD5Failure TCPSackShifted
        TCPSackMerged TCPSackShiftFallback TCPBacklogDrop PFMemallocDrop TCPMinTTLDrop TCPDeferAcceptDrop
        IPReversePathFilter TCPTimeWaitOverflow TCPReqQFullDoCookies TCPReqQFullDrop TCPRetransFail
        TCPRcvCoalesce TCPOFOQueue TCPOFODrop TCPOFOMerge TCPChallengeACK TCPSYNChallenge TCPFastOpenActive
        TCPFastOpenActiveFail TCPFastOpenPassive TCPFastOpenPassiveFail TCPFastOpenListenOverflow
        TCPFastOpenCookieReqd TCPFastOpenBlackhole TCPSpuriousRtxHostQueues BusyPollRxPackets
        TCPAutoCorking TCPFromZeroWindowAdv TCPToZeroWindowAdv TCPWantZeroWindowAdv TCPSynRetrans
        TCPOrigDataSent TCPHystartTrainDetect TCPHystartTrainCwnd TCPHystartDelayDetect
        TCPHystartDelayCwnd TCPACKSkippedSynRecv TCPACKSkippedPAWS TCPACKSkippedSeq TCPACKSkippedFinWait2
        TCPACKSkippedTimeWait TCPACKSkippedChallenge TCPWinProbe TCPKeepAlive TCPMTUPFail TCPMTUPSuccess
        TCPDelivered TCPDeliveredCE TCPAckCompressed TCPZeroWindowDrop TCPRcvQDrop TCPWqueueTooBig
        TCPFastOpenPassiveAltKey TcpTimeoutRehash TcpDuplicateDataRehash TCPDSACKRecvSegs
        TCPDSACKIgnoredDubious TCPMigrateReqSuccess TCPMigrateReqFailure TCPPLBRehash TCPAORequired TCPAOBad
        TCPAOKeyNotFound TCPAOGood TCPAODroppedIcmps
        """,
    "IpExt": """
        InNoRoutes InTruncatedPkts InMcastPkts OutMcastPkts InBcastPkts OutBcastPkts InOctets OutOctets
        InMcastOctets OutMcastOctets InBcastOctets OutBcastOctets InCsumErrors InNoECTPkts InECT1Pkts
        InECT0Pkts InCEPkts ReasmOverlaps
        """,
    "Ip": """
        InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards InDelivers OutRequests
        OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails FragCreates
        OutTransmits
        """,
    "Icmp": """
        InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InParmProbs InSrcQuenchs InRedirects InEchos
        InEchoReps OutMsgs OutErrors OutRateLimitGlobal OutRateLimitHost OutDestUnreachs OutTimeExcds
        OutParmProbs OutSrcQuenchs OutRedirects OutEchos OutEchoReps
        """,
    "Tcp": """
        ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts
        InCsumErrors
        """,
    "Udp": """
        InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti
        MemErrors
        """,
}
COUNTERS = frozenset(protocol + name for protocol, names in _COUNTERS.items() for name in names.split())
COUNTER_PATTERN = "(?:MPTcp|Tcp|Ip|Icmp(?:Msg)?|Udp(?:Lite)?)(?:Ext)?[A-Z][A-Za-z0-9]*"
