-- HEPv3, what capture servers such as Homer take, for Wireshark and tshark, which have no dissector for
-- it. Put it into the personal Lua plugins' folder (Help, About Wireshark, Folders), or name it:
--
--     tshark -X lua_script:hep.lua -i any -f 'port 9060'
--     tshark -X lua_script:hep.lua -r hep.pcap -Y 'json.value.string == "reject"'
--
-- It goes by the HEP/EEP specification, revision 36: a head of six bytes, then chunks of vendor, type,
-- length and value, all of it big-endian. SIP and JSON payloads are given to Wireshark's own dissectors,
-- as if they went between the two that the packet names. UDP and TCP, any port.

local MAGIC, HEAD, CHUNK_HEAD = "HEP3", 6, 6
local FAMILIES = { [2] = "IPv4", [10] = "IPv6" }
local PROTOCOLS = { [6] = "TCP", [17] = "UDP", [132] = "SCTP" }
local PAYLOADS = {
    [1] = "SIP", [2] = "XMPP", [3] = "SDP", [4] = "RTP", [5] = "RTCP (JSON)", [6] = "MGCP", [7] = "MEGACO",
    [8] = "M2UA", [9] = "M3UA", [10] = "IAX", [11] = "H.322", [12] = "H.321", [13] = "M2PA", [34] = "voice quality (JSON)",
    [35] = "voice quality (lines)", [53] = "DNS", [99] = "JSON", [100] = "log",
}
-- who reads a payload further
local READERS = { [1] = "sip", [5] = "json", [34] = "json", [99] = "json", [100] = "json" }

local hep = Proto("hep", "Homer Encapsulation Protocol 3")
local length = ProtoField.uint16("hep.length", "Length")
local time = ProtoField.absolute_time("hep.time", "Time of the message")
local other = ProtoField.bytes("hep.chunk", "Another chunk")
-- generic chunks (vendor 0) by type: their field, and how many bytes they have, if that is fixed
local CHUNKS = {
    [0x01] = { ProtoField.uint8("hep.family", "Address family", base.DEC, FAMILIES), 1 },
    [0x02] = { ProtoField.uint8("hep.protocol", "Protocol", base.DEC, PROTOCOLS), 1 },
    [0x03] = { ProtoField.ipv4("hep.source", "Source"), 4 },
    [0x04] = { ProtoField.ipv4("hep.destination", "Destination"), 4 },
    [0x05] = { ProtoField.ipv6("hep.source_v6", "Source"), 16 },
    [0x06] = { ProtoField.ipv6("hep.destination_v6", "Destination"), 16 },
    [0x07] = { ProtoField.uint16("hep.source_port", "Source port"), 2 },
    [0x08] = { ProtoField.uint16("hep.destination_port", "Destination port"), 2 },
    [0x09] = { ProtoField.uint32("hep.seconds", "Seconds"), 4 },
    [0x0a] = { ProtoField.uint32("hep.microseconds", "Microseconds"), 4 },
    [0x0b] = { ProtoField.uint8("hep.payload_type", "Payload type", base.DEC, PAYLOADS), 1 },
    [0x0c] = { ProtoField.uint32("hep.agent", "Agent"), 4 },
    [0x0d] = { ProtoField.uint16("hep.keep_alive", "Keep-alive, seconds"), 2 },
    [0x0e] = { ProtoField.string("hep.key", "Authentication key") },
    [0x0f] = { ProtoField.bytes("hep.payload", "Payload") },
    [0x10] = { ProtoField.bytes("hep.payload_compressed", "Payload, compressed") },
    [0x11] = { ProtoField.string("hep.correlation", "Correlation id") },
    [0x12] = { ProtoField.uint16("hep.vlan", "VLAN"), 2 },
    [0x13] = { ProtoField.string("hep.node", "Node") },
}
local fields = { length, time, other }
for _, chunk in pairs(CHUNKS) do table.insert(fields, chunk[1]) end
hep.fields = fields
local malformed = ProtoExpert.new("hep.malformed", "Malformed", expert.group.MALFORMED, expert.severity.ERROR)
hep.experts = { malformed }

-- Adds the chunks to the tree; returns their values by type.
local function chunks(tvb, tree)
    local values, at, whole = {}, HEAD, tvb:len()
    while at < whole do
        local size = whole - at >= CHUNK_HEAD and tvb(at + 4, 2):uint() or 0
        if size < CHUNK_HEAD or size > whole - at then
            tree:add_tvb_expert_info(malformed, tvb(at), "A chunk that does not fit")
            return values
        end
        local vendor, kind = tvb(at, 2):uint(), tvb(at + 2, 2):uint()
        local known = vendor == 0 and CHUNKS[kind]
        if size == CHUNK_HEAD then
            tree:add(other, tvb(at, size))
        elseif known then
            local value = tvb(at + CHUNK_HEAD, size - CHUNK_HEAD)
            if known[2] and known[2] ~= value:len() then
                tree:add_tvb_expert_info(malformed, value, "A value of another length than its type has")
            else
                tree:add(known[1], value)
                values[kind] = value
            end
        else
            tree:add(other, tvb(at, size)):append_text(string.format(" (vendor %d, type %d)", vendor, kind))
        end
        at = at + size
    end
    return values
end

-- One packet, all of it.
local function packet(tvb, pinfo, tree)
    local size = tvb(4, 2):uint()
    local branch = tree:add(hep, tvb())
    branch:add(length, tvb(4, 2))
    if tvb(0, 4):string() ~= MAGIC or size ~= tvb:len() then
        branch:add_tvb_expert_info(malformed, tvb(0, HEAD), "Not what a packet begins with")
        return tvb:len()
    end
    local values = chunks(tvb, branch)
    if values[0x09] and values[0x0a] then
        branch:add(time, values[0x09], NSTime.new(values[0x09]:uint(), values[0x0a]:uint() * 1000)):set_generated()
    end
    -- the message is between these two, whoever sends the packet
    local source, destination = values[0x03] or values[0x05], values[0x04] or values[0x06]
    if source and destination then
        pinfo.src = source:len() == 4 and source:ipv4() or source:ipv6()
        pinfo.dst = destination:len() == 4 and destination:ipv4() or destination:ipv6()
    end
    if values[0x07] and values[0x08] then
        pinfo.src_port, pinfo.dst_port = values[0x07]:uint(), values[0x08]:uint()
    end
    local kind = values[0x0b] and values[0x0b]:uint()
    pinfo.cols.protocol = "HEP"
    pinfo.cols.info = PAYLOADS[kind] or "HEP"
    local reader = READERS[kind]
    if values[0x0f] and reader then
        Dissector.get(reader):call(values[0x0f]:tvb(), pinfo, tree)
    end
    return size
end

local function dissect(tvb, pinfo, tree)
    if pinfo.port_type == 2 then -- TCP: packets are cut anywhere
        dissect_tcp_pdus(tvb, tree, HEAD, function(part, _, at) return part(at + 4, 2):uint() end, packet)
        return tvb:len()
    end
    return tvb:len() < HEAD and 0 or packet(tvb, pinfo, tree)
end
hep.dissector = dissect

local function by_looks(tvb, pinfo, tree)
    if tvb:len() < HEAD or tvb(0, 4):string() ~= MAGIC then return false end
    -- what follows on a connection is the same
    pinfo.conversation = hep
    dissect(tvb, pinfo, tree)
    return true
end

hep:register_heuristic("udp", by_looks)
hep:register_heuristic("tcp", by_looks)
for _, over in ipairs({ "udp.port", "tcp.port" }) do
    DissectorTable.get(over):add(9060, hep)
end
