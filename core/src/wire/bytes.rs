//! Little-endian integers at fixed places of fixed arrays: the places are constants, so there are no bounds to check at run time.

#[inline(always)]
pub(super) fn u8_at<const AT: usize, const N: usize>(bytes: &[u8; N]) -> u8 {
    const { assert!(AT < N, "inside of the frame") };
    bytes[AT]
}

#[inline(always)]
pub(super) fn u32_at<const AT: usize, const N: usize>(bytes: &[u8; N]) -> u32 {
    const { assert!(AT + 4 <= N, "inside of the frame") };
    u32::from_le_bytes([bytes[AT], bytes[AT + 1], bytes[AT + 2], bytes[AT + 3]])
}

#[inline(always)]
pub(super) fn u64_at<const AT: usize, const N: usize>(bytes: &[u8; N]) -> u64 {
    const { assert!(AT + 8 <= N, "inside of the frame") };
    let low = [bytes[AT], bytes[AT + 1], bytes[AT + 2], bytes[AT + 3]];
    let high = [bytes[AT + 4], bytes[AT + 5], bytes[AT + 6], bytes[AT + 7]];
    u64::from(u32::from_le_bytes(low)) | u64::from(u32::from_le_bytes(high)) << 32
}

#[inline(always)]
pub(super) fn put_u32<const AT: usize, const N: usize>(bytes: &mut [u8; N], value: u32) {
    const { assert!(AT + 4 <= N, "inside of the frame") };
    bytes[AT..AT + 4].copy_from_slice(&value.to_le_bytes());
}

#[inline(always)]
pub(super) fn put_u64<const AT: usize, const N: usize>(bytes: &mut [u8; N], value: u64) {
    const { assert!(AT + 8 <= N, "inside of the frame") };
    bytes[AT..AT + 8].copy_from_slice(&value.to_le_bytes());
}
