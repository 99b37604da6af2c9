"""Names that others have given: socket options, errors and signals of Linux, counters of its network stack.

Kept as lists, for a lab file is checked on computers whose Python knows other names, or none.
"""

from __future__ import annotations

# socket(7), tcp(7), ip(7), ipv6(7), udp(7): what an agent can set or get, by their C names.
SOCKET_OPTIONS = frozenset(
    """
    SO_ACCEPTCONN SO_BINDTODEVICE SO_BINDTOIFINDEX SO_BROADCAST SO_BUF_LOCK SO_BUSY_POLL
    SO_BUSY_POLL_BUDGET SO_COOKIE SO_DEBUG SO_DOMAIN SO_DONTROUTE SO_ERROR SO_INCOMING_CPU
    SO_INCOMING_NAPI_ID SO_KEEPALIVE SO_LINGER SO_LOCK_FILTER SO_MARK SO_MAX_PACING_RATE SO_MEMINFO
    SO_NETNS_COOKIE SO_NO_CHECK SO_OOBINLINE SO_PEEK_OFF SO_PREFER_BUSY_POLL SO_PRIORITY SO_PROTOCOL
    SO_RCVBUF SO_RCVBUFFORCE SO_RCVLOWAT SO_RCVMARK SO_RESERVE_MEM SO_REUSEADDR SO_REUSEPORT SO_RXQ_OVFL
    SO_SELECT_ERR_QUEUE SO_SNDBUF SO_SNDBUFFORCE SO_SNDLOWAT SO_TIMESTAMP SO_TIMESTAMPNS SO_TXREHASH
    SO_TXTIME SO_TYPE SO_ZEROCOPY
    TCP_CONGESTION TCP_CORK TCP_DEFER_ACCEPT TCP_DELACK_MAX_US TCP_FASTOPEN TCP_FASTOPEN_CONNECT
    TCP_FASTOPEN_NO_COOKIE TCP_INFO TCP_INQ TCP_KEEPCNT TCP_KEEPIDLE TCP_KEEPINTVL TCP_LINGER2
    TCP_MAXSEG TCP_NODELAY TCP_NOTSENT_LOWAT TCP_QUEUE_SEQ TCP_QUICKACK TCP_REPAIR TCP_REPAIR_QUEUE
    TCP_RTO_MAX_MS TCP_RTO_MIN_US TCP_SAVED_SYN TCP_SAVE_SYN TCP_SYNCNT TCP_THIN_DUPACK
    TCP_THIN_LINEAR_TIMEOUTS TCP_TIMESTAMP TCP_TX_DELAY TCP_ULP TCP_USER_TIMEOUT TCP_WINDOW_CLAMP
    IP_BIND_ADDRESS_NO_PORT IP_CHECKSUM IP_FREEBIND IP_LOCAL_PORT_RANGE IP_MINTTL IP_MTU IP_MTU_DISCOVER
    IP_MULTICAST_ALL IP_MULTICAST_LOOP IP_MULTICAST_TTL IP_NODEFRAG IP_PKTINFO IP_RECVERR
    IP_RECVERR_RFC4884 IP_RECVFRAGSIZE IP_RECVORIGDSTADDR IP_RECVTOS IP_RECVTTL IP_TOS IP_TRANSPARENT
    IP_TTL IP_UNICAST_IF
    IPV6_ADDR_PREFERENCES IPV6_AUTOFLOWLABEL IPV6_DONTFRAG IPV6_FREEBIND IPV6_MINHOPCOUNT IPV6_MTU
    IPV6_MTU_DISCOVER IPV6_MULTICAST_ALL IPV6_MULTICAST_HOPS IPV6_MULTICAST_IF IPV6_MULTICAST_LOOP
    IPV6_RECVERR IPV6_RECVERR_RFC4884 IPV6_RECVFRAGSIZE IPV6_RECVHOPLIMIT IPV6_RECVPATHMTU
    IPV6_RECVPKTINFO IPV6_RECVTCLASS IPV6_TCLASS IPV6_TRANSPARENT IPV6_UNICAST_HOPS IPV6_UNICAST_IF
    IPV6_USE_MIN_MTU IPV6_V6ONLY
    UDP_CORK UDP_GRO UDP_NO_CHECK6_RX UDP_NO_CHECK6_TX UDP_SEGMENT
    """.split()  # noqa: SIM905
)
TEXT_OPTIONS = frozenset({"SO_BINDTODEVICE", "TCP_CONGESTION", "TCP_ULP"})

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
