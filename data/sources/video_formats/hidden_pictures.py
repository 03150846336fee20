"""Packets of VP8 and VP9 that show no picture: later pictures are made from theirs.

Formats: RFC 6386 (VP8), VP9 Bitstream & Decoding Process Specification.
"""


def shows_picture(codec: str, packet: bytes) -> bool:
    """Whether a packet shows a picture. codec: FFmpeg's name; other codecs show one per packet."""
    if codec == "vp8":
        return not packet or bool(packet[0] & 0x10)
    if codec == "vp9":
        return any(map(_shows_vp9, _vp9_frames(packet)))
    return True


def _vp9_frames(packet: bytes) -> list[bytes]:
    """The frames in a packet of VP9: one, or those of a superframe, whose sizes are at its end."""
    last = packet[-1] if packet else 0
    if last & 0xE0 == 0xC0:
        count, width = (last & 7) + 1, (last >> 3 & 3) + 1
        index = packet[-2 - count * width :]
        if len(index) == 2 + count * width and index[0] == last:
            frames, start = [], 0
            for place in range(1, 1 + count * width, width):
                size = int.from_bytes(index[place : place + width], "little")
                frames.append(packet[start : start + size])
                start += size
            return frames
    return [packet]


def _shows_vp9(frame: bytes) -> bool:
    if not frame:
        return False
    bits = f"{frame[0]:08b}"  # 10, profile (two bits), in profile 3 a zero, then the flags
    flags = bits[5:8] if bits[2:4] == "11" else bits[4:7]  # show existing, inter picture, show
    return "1" in (flags[0], flags[2])
