/** The position and the size of the opening window. */
export interface Frame {
  screenX: number;
  screenY: number;
  outerWidth: number;
  outerHeight: number;
}

/**
 * Window features that put the popup in the middle of the opening window.
 *
 * Negative positions stay: a second screen on the left has them.
 */
export function popupFeatures(over: Frame, { width = 600, height = 700 }: { width?: number; height?: number } = {}): string {
  const left = Math.round(over.screenX + (over.outerWidth - width) / 2);
  // A title bar above the upper edge of the screen would be out of reach.
  const top = Math.max(over.screenY, Math.round(over.screenY + (over.outerHeight - height) / 2));
  return `popup,width=${width},height=${height},left=${left},top=${top}`;
}
