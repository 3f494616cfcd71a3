package layer

import (
	"encoding/binary"
	"hash/crc64"
)

var table = crc64.MakeTable(crc64.ISO)

// checksum adds bytes to a CRC-64 with the ISO polynomial, tar-split's checksum. hash/crc64 looks bytes up in tables and
// takes almost as long as sha256; here the polynomial, x⁶⁴+x⁴+x³+x+1, has so few terms that a word of 64 bits is reduced
// by shifts. Bits are reversed: the highest is the coefficient of x⁰, and a shift to the right multiplies by x.
func checksum(sum uint64, data []byte) uint64 {
	sum = ^sum
	for len(data) >= 8 {
		v := sum ^ binary.LittleEndian.Uint64(data)
		v ^= v<<63 ^ v<<61 ^ v<<60   // the four bits that the next line shifts out, reduced to where they come in again
		sum = v ^ v>>1 ^ v>>3 ^ v>>4 // v·x⁶⁴ = v·(x⁴+x³+x+1)
		data = data[8:]
	}
	return crc64.Update(^sum, table, data)
}
