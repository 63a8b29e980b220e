-- HEP version 3, as sipcapture.org's HEP3 revision 12 has it, for tshark, which comes without it: "HEP3", the length
-- of the whole, and chunks of vendor, type, length and value. The message that it carries goes to tshark's own dissector.

local hep = Proto("hep", "Homer Encapsulation Protocol")

-- The generic chunks that are looked at, by their type: the field and how many octets it has (none: any number).
local chunks = {
  [1] = { ProtoField.uint8("hep.family", "Address family"), 1 },
  [2] = { ProtoField.uint8("hep.protocol", "Protocol over IP"), 1 },
  [3] = { ProtoField.ipv4("hep.source", "Source"), 4 },
  [4] = { ProtoField.ipv4("hep.destination", "Destination"), 4 },
  [5] = { ProtoField.ipv6("hep.source6", "Source"), 16 },
  [6] = { ProtoField.ipv6("hep.destination6", "Destination"), 16 },
  [7] = { ProtoField.uint16("hep.source_port", "Source port"), 2 },
  [8] = { ProtoField.uint16("hep.destination_port", "Destination port"), 2 },
  [9] = { ProtoField.uint32("hep.seconds", "Seconds"), 4 },
  [10] = { ProtoField.uint32("hep.microseconds", "Microseconds"), 4 },
  [11] = { ProtoField.uint8("hep.type", "Protocol of the message"), 1 },
  [12] = { ProtoField.uint32("hep.capture_id", "Capture agent"), 4 },
  [14] = { ProtoField.string("hep.auth_key", "Authenticate key") },
  [15] = { ProtoField.bytes("hep.message", "Message") },
  [17] = { ProtoField.string("hep.correlation_id", "Correlation ID") },
}

local length = ProtoField.uint16("hep.length", "Length")
local malformed = ProtoExpert.new(
  "hep.malformed", "Malformed", expert.group.MALFORMED, expert.severity.ERROR)

hep.fields = { length }
for _, chunk in pairs(chunks) do table.insert(hep.fields, chunk[1]) end
hep.experts = { malformed }

local SIP = 1

function hep.dissector(packet, info, root)
  local tree = root:add(hep, packet())
  if packet:len() < 6 or packet(0, 4):string() ~= "HEP3" or packet(4, 2):uint() ~= packet:len() then
    tree:add_proto_expert_info(malformed, "no HEP3, or not of its length")
    return
  end
  tree:add(length, packet(4, 2))
  info.cols.protocol = "HEP3"

  local kind, message
  local at = 6
  while at < packet:len() do
    local size = packet:len() - at >= 6 and packet(at + 4, 2):uint() or 0
    if size < 6 or at + size > packet:len() then
      tree:add_proto_expert_info(malformed, "a chunk beyond the packet")
      return
    end
    local vendor, number = packet(at, 2):uint(), packet(at + 2, 2):uint()
    local chunk = vendor == 0 and chunks[number]
    if not chunk or size == 6 or (chunk[2] and chunk[2] ~= size - 6) then
      tree:add_proto_expert_info(malformed, "chunk " .. vendor .. "/" .. number .. " of " .. size .. " octets")
    else
      local value = packet(at + 6, size - 6)
      tree:add(chunk[1], value)
      if number == 11 then kind = value:uint() end
      if number == 15 then message = value end
    end
    at = at + size
  end

  if kind == SIP and message then Dissector.get("sip"):call(message:tvb(), info, root) end
end

DissectorTable.get("udp.port"):add_for_decode_as(hep)
